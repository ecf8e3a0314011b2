"""What is evaluated: runs, their task, the conditions, and lesions of the policy."""
