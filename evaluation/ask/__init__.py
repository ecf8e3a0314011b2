"""What is asked for: runs, their task, the conditions, and lesions of the policy."""
