"""`hlgp doctor`: whether a machine, or every node of a cluster, can do the job. docs/doctor.md has the table."""
