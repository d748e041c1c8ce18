"""Results of commands, typed; their JSON form is what tables and plots are made from."""
