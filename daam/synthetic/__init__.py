"""People who do not exist, in places that do not exist: procedural re-identification domains."""

from daam.synthetic.named import DOMAINS, domain_look
from daam.synthetic.render import RenderPlan, render_domain
from daam.synthetic.settings import CameraLook, DomainLook, camera_look

__all__ = [
    "DOMAINS",
    "CameraLook",
    "DomainLook",
    "RenderPlan",
    "camera_look",
    "domain_look",
    "render_domain",
]
