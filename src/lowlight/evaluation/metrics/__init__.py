"""Metrics: every variant under a name of its own, as the script that published it computes it."""

from lowlight.evaluation.metrics import _colour, _loe, _lpips, _ms_ssim, _niqe, _psnr, _ssim
from lowlight.evaluation.metrics._psnr import psnr as psnr
from lowlight.evaluation.metrics._ssim import ssim as ssim
from lowlight.evaluation.metrics._surface import Metric as Metric
from lowlight.evaluation.metrics._surface import Missing as Missing
from lowlight.evaluation.metrics._surface import Picture as Picture
from lowlight.evaluation.metrics._surface import Pool as Pool
from lowlight.evaluation.metrics._surface import Samples as Samples
from lowlight.evaluation.metrics._surface import Undefined as Undefined

METRICS: dict[str, Metric] = {
    metric.name: metric
    for family in (_psnr, _ssim, _ms_ssim, _lpips, _colour, _niqe, _loe)
    for metric in family.METRICS
}
"""All metrics by name, in the order that tables show."""
