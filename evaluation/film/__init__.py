"""Videos of episodes, and what goes on in the network meanwhile."""
