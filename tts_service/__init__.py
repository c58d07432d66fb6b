"""Text in, watermarked speech out, and the service's half of the control path.

Reading order: `__main__`, `server`, `api`, `engine`, `speech`, `residency`, `models`, `config`, `types`, `errors`.
It knows nothing of NVML, of thresholds, or of why a module should leave.
"""
