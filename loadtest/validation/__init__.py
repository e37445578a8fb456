"""What a load run counted, judged: criteria, comparison, capacity."""
