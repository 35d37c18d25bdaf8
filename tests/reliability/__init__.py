"""What is claimed about crashes, power loss, damage and hostile files, a figure a module: docs/reliability.md."""
