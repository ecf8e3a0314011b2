"""What `spikepropamine tune` searches, by environment and policy."""
