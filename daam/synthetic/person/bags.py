"""What people carry."""

from daam.synthetic.kinds import Bag
from daam.synthetic.person.limbs import Limbs, Part, moved
from daam.synthetic.person.people import Person
from daam.synthetic.person.pose import Pose


def add_bag(limbs: Limbs, *, person: Person, pose: Pose, cloth_m: float) -> None:
    """Add the bag; `cloth_m` is how thick the clothes under it are."""
    scale, size, side = pose.scale, person.bag_size * pose.scale, person.bag_side
    back = 0.118 * scale * person.girth**0.8 + cloth_m
    hand = pose.hands[0 if side < 0 else 1]
    match person.bag:
        case Bag.BACKPACK:
            depth = 0.085 * size
            middle = moved(moved(pose.chest, forward=-back), forward=-0.6 * depth)
            low, high = moved(middle, up=-0.13 * size), moved(middle, up=0.1 * size)
            wide, deep = (0.155 * size, 0.13 * size), (depth, 0.8 * depth)
            limbs.add(low, high, part=Part.BAG, wide=wide, deep=deep)
        case Bag.SHOULDER:
            out = 0.17 * scale * person.girth**0.7 + 0.05
            low = moved(pose.hip, left=side * out, forward=-0.03)
            wide, deep = (0.06 * size, 0.05 * size), (0.15 * size, 0.13 * size)
            limbs.add(low, moved(low, up=0.1 * size), part=Part.BAG, wide=wide, deep=deep)
        case Bag.HANDBAG:
            low, high = moved(hand, up=-0.24 * size), moved(hand, up=-0.1 * size)
            wide, deep = (0.05 * size, 0.04 * size), (0.15 * size, 0.11 * size)
            limbs.add(low, high, part=Part.BAG, wide=wide, deep=deep)
            limbs.add(high, hand, part=Part.STRAP, wide=(0.014, 0.01))
        case Bag.TROLLEY:
            x, z = hand[0] + side * 0.06, hand[2] - 0.42
            wide, deep = (0.17 * size, 0.17 * size), (0.1 * size, 0.1 * size)
            limbs.add((x, 0.1, z), (x, 0.5 * size, z), part=Part.TROLLEY, wide=wide, deep=deep)
            limbs.add((x, 0.5 * size, z), hand, part=Part.STRAP, wide=(0.012, 0.012))
        case Bag.NONE:
            pass
