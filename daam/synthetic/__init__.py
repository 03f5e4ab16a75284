"""Procedural re-identification domains: synthetic people, places and cameras.

render: a domain on disk, image by image. shot: one image. named: what the domains look like.
crops: its train images again, as a detector leaves them.
settings: every parameter of a domain and of a camera. kinds, streams: vocabulary, randomness.
person, scene, camera: what an image is made of.
"""

from daam.synthetic.crops import write_crops
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
    "write_crops",
]
