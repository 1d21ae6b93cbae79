"""What memagent is measured by: each module is run as `python -m benchmarks.NAME` from the top folder."""
