"""The stages of study dna that no other study has."""
