"""Backbones that others have trained: where their files are, and how they get into a network of ours.

table.py     every file by name, with address, licence and the digits of its hash; the short names of configs
find.py      what a config or a person has written -> an entry of the table, or a file on this machine
usual.py     which of them a backbone of given size starts from, where its config names none
timm_hub.py  the same of the networks of timm, by timm's own tables
hf_hub.py    tensors of a repository of the Hugging Face Hub, for the backbones of transformers
fit.py       a file's tensors made to fit: other grids, other bands, parts that only classify images
"""
