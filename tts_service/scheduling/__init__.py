"""Who computes next, how much of it at once, and who is let in: decisions alone, with time as an argument.

It knows pieces of work by number, and neither threads nor a device nor what they compute. Reading order: `work`,
`costs`, `figures`; `deadlines` and `chunk_plans`; `urgency`, `token_bursts` and `sound_batches`; `pauses` and
`token_rests`; `capacity` and `utilisation`; `verdicts`, `guests`, `departures` and `admission`.
"""
