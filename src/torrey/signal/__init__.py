"""From a mesh and a protocol to signals. Lengths in µm, times in ms, signals in µm³."""

from .apparent_diffusion import apparent_diffusion as apparent_diffusion
from .apparent_diffusion import compartment_diffusion as compartment_diffusion
from .bloch_torrey import BlochTorrey as BlochTorrey
from .cumulant_fit import CumulantFit as CumulantFit
from .cumulant_fit import fit_cumulants as fit_cumulants
from .karger import Karger as Karger
from .matrix_formalism import MatrixFormalism as MatrixFormalism
from .short_time import short_time_diffusion as short_time_diffusion
from .simulate import simulate as simulate
from .simulate import simulate_batch as simulate_batch
from .simulate import simulate_compartments as simulate_compartments
from .tissue import Tissue as Tissue
from .tissue_file import read_tissue as read_tissue
