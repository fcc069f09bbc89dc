"""What the benchmarks of cost share: sessions, peers, rounds, and the table."""
