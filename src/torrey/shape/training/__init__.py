"""Training of shape models on a CPU: PCA and the spectral autoencoder."""

from .card import model_card as model_card
from .card import with_facts as with_facts
from .curve import Curve as Curve
from .curve import write_curve as write_curve
from .data import TrainingData as TrainingData
from .data import generated as generated
from .data import stored as stored
from .gradient_descent import AutoencoderSettings as AutoencoderSettings
from .gradient_descent import train_autoencoder as train_autoencoder
from .principal import MOST_MODES as MOST_MODES
from .principal import TOLERANCE as TOLERANCE
from .principal import fewest_modes as fewest_modes
from .principal import fit_pca as fit_pca
from .threads import one_thread as one_thread
from .trials import count_folded as count_folded
from .trials import folds as folds
from .trials import round_trip_errors as round_trip_errors
