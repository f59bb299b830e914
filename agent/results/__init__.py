"""From result files to a page that people read: merged rows, intervals, paired tests, and what was asked beside what was found.

    evaluate --json, bench ablations --json, train --json   ->   results/*.json   ->   docs/results.md

Nothing here runs the agent or loads torch: the page can be made, and checked, wherever the files are.
"""
