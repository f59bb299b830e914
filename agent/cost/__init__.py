"""The cost module: task objectives, intrinsic objectives and guardrails, one short file each."""
