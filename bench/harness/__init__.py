"""The load harness: peers side by side on one machine, judged by ratios. See bench/README.md."""
