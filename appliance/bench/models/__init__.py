"""``appliance bench models``: what each model of this repository costs and what it is worth, in one run."""
