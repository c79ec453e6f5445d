"""Shape models: from a latent vector to the vertices of a mesh, differentiable. Lengths in µm."""

from .autoencoder import Autoencoder as Autoencoder
from .base import AbstractShape as AbstractShape
from .base import Extent as Extent
from .dataset import Dataset as Dataset
from .dataset import make_dataset as make_dataset
from .dataset import open_dataset as open_dataset
from .pca import PCA as PCA
from .posed import Posed as Posed
from .pretrained import pretrained as pretrained
from .spectral import Spectral as Spectral
from .straight_cylinder import StraightCylinder as StraightCylinder
from .sweep import Sweep as Sweep
from .tube import Tube as Tube
from .vertices import Vertices as Vertices
