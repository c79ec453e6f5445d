"""What a reconstruction has to beat: networks, the fit of a cylinder, and descent in every vertex."""

from .architectures import Mlp as Mlp
from .architectures import ResidualMlp as ResidualMlp
from .cylinder_fit import CylinderFit as CylinderFit
from .cylinder_fit import fit_cylinder as fit_cylinder
from .losses import VertexChamfer as VertexChamfer
from .losses import VertexDistance as VertexDistance
from .network import Network as Network
from .network import load_network as load_network
from .training import Epoch as Epoch
from .training import Training as Training
from .training import train_network as train_network
from .vertex_descent import descend_in_vertices as descend_in_vertices
