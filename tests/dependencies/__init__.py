"""What owmesos installs besides itself: its locks, its licences, its known vulnerabilities. `scripts/audit` runs it."""
