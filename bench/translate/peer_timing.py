"""What a peer's script does with its translator: warm it up, time it, print one line of JSON."""
import json
import resource
import time


def report(translate, lines, one_by_one):
    """`translate` takes a list of lines and returns a list of translations."""
    translate(lines[:8])
    wall, cpu = time.time(), time.process_time()
    output = [translate([line])[0] for line in lines] if one_by_one else translate(lines)
    wall, cpu = time.time() - wall, time.process_time() - cpu
    print(json.dumps({"seconds": wall, "cpu": cpu, "lines": len(lines), "output": output,
                      "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
