"""How data sets lay out their files: a module for each, from names alone to cases."""
