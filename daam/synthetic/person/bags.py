"""What people carry."""

from daam.synthetic.kinds import Bag
from daam.synthetic.person.limbs import Limbs, Part
from daam.synthetic.person.people import Person
from daam.synthetic.person.pose import Pose


def add_bag(limbs: Limbs, *, person: Person, pose: Pose, cloth_m: float) -> None:
    """Add the bag; `cloth_m` is how thick the clothes under it are."""
    scale, size, side = pose.scale, person.bag_size * pose.scale, person.bag_side
    back = 0.118 * scale * person.girth**0.8 + cloth_m
    hand = pose.hands[0 if side < 0 else 1]
    match person.bag:
        case Bag.BACKPACK:
            x, y, z = pose.chest
            depth = 0.085 * size
            middle = z - back - 0.6 * depth
            limbs.add(
                (x, y - 0.13 * size, middle),
                (x, y + 0.1 * size, middle),
                part=Part.BAG,
                wide=(0.155 * size, 0.13 * size),
                deep=(depth, 0.8 * depth),
            )
        case Bag.SHOULDER:
            x, y, z = pose.hip
            out = 0.17 * scale * person.girth**0.7 + 0.05
            limbs.add(
                (x + side * out, y + 0.0, z - 0.03),
                (x + side * out, y + 0.1 * size, z - 0.03),
                part=Part.BAG,
                wide=(0.06 * size, 0.05 * size),
                deep=(0.15 * size, 0.13 * size),
            )
        case Bag.HANDBAG:
            x, y, z = hand
            limbs.add(
                (x, y - 0.24 * size, z),
                (x, y - 0.1 * size, z),
                part=Part.BAG,
                wide=(0.05 * size, 0.04 * size),
                deep=(0.15 * size, 0.11 * size),
            )
            limbs.add((x, y - 0.1 * size, z), (x, y, z), part=Part.STRAP, wide=(0.014, 0.01))
        case Bag.TROLLEY:
            x, z = hand[0] + side * 0.06, hand[2] - 0.42
            limbs.add(
                (x, 0.1, z),
                (x, 0.5 * size, z),
                part=Part.TROLLEY,
                wide=(0.17 * size, 0.17 * size),
                deep=(0.1 * size, 0.1 * size),
            )
            limbs.add((x, 0.5 * size, z), hand, part=Part.STRAP, wide=(0.012, 0.012))
        case _:
            pass
