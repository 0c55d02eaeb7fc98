"""The guide to the models: which networks there are, what each costs and scores. Imports no torch.

``docs/models.md`` and ``intarsia models`` are made of it.
"""
