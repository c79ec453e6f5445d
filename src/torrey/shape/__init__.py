"""Shape models: from a latent vector to the vertices of a mesh, differentiable. Lengths in µm."""

from .autoencoder import Autoencoder as Autoencoder
from .base import AbstractShape as AbstractShape
from .base import Extent as Extent
from .pca import PCA as PCA
from .pretrained import pretrained as pretrained
from .spectral import Spectral as Spectral
from .tube import Tube as Tube
from .vertices import Vertices as Vertices
