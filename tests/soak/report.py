"""What is printed: a table at each look, and the verdict."""

import sys

from .slope import SURE


def show(look):
    print(f"\n{clock(look['seconds'])}  faults so far: {look['faults']}")
    for process, seen in look["processes"].items():
        held = seen["vitals"]
        print(f"  {process}: " + ", ".join(f"{name} {amount(held[name])}" for name in held))
        for name, part in seen["parts"].items():
            live = ", ".join(f"{what} {number:,}" for what, number in part["live"].items())
            wrong = f", WRONG {part['wrong']}" if part["wrong"] else ""
            print(f"    {line(name, part)}  {live}{wrong}")
            for error in part["errors"]:
                print(f"      WRONG: {error}")
    sys.stdout.flush()


def line(name, part):
    spans = "  ".join(f"{share} {span(part[share])}" for share in ("p50", "p99", "p99.9"))
    return f"{name:<15}{part['per_second']:>10,.0f}/s  {spans}"


def sum_up(result):
    """Print what came out; True if all is well."""
    print(f"\nafter {clock(result['seconds'])}")
    for process, parts in result["calls"].items():
        print(f"  {process}")
        for name, part in parts.items():
            print(f"    {line(name, part)}")
    rule = f"grows: a slope of more than {SURE:g} standard errors, that comes to more than its floor"
    print(f"\ntrends after the warm-up ({rule})")
    grows = False
    for process, trends in result["trends"].items():
        for name, trend in trends.items():
            grows = grows or trend.grows
            print(
                f"  {process:<13}{name:<9}{trend.slope * 3600:>+14,.2f} ± {trend.error * 3600:<12,.2f} an hour; "
                f"{trend.growth:>+11,.2f} in all, floor {trend.floor:<9,.1f}  {'GROWS' if trend.grows else 'flat'}"
            )
    judged = bool(result["trends"]) and all(set(each) >= {"rss_mb"} for each in result["trends"].values())
    if not judged:
        print("  too few looks to judge: run longer, or look more often (--report)")
    for error in result["errors"]:
        print(f"\nWRONG: {error}")
    print(f"\n{result['wrong']} wrong answers or errors; {'memory GROWS' if grows else 'nothing grows'}")
    return not grows and not result["wrong"]


def clock(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def amount(number):
    return f"{number:,.1f}" if isinstance(number, float) else f"{number:,}"


def span(seconds):
    """A time, as people read it."""
    if seconds is None:
        return "       -"
    for unit, size in (("s ", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:>6.1f}{unit}"
    return f"{seconds / 1e-9:>6.0f}ns"
