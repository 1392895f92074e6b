"""Is a folder of rank files complete and right: findings, certificates, explanations."""
