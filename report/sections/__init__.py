"""The sections of a report, in the files of what they tell of."""
