"""Running the episodes: plan, jobs, processes, and what is kept of them."""
