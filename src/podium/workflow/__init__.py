"""What is to be done: workflows, tasks, graphs and plans. Pure: no I/O, no clock, no chance."""
