"""The stages that every study shares. What differs between studies they ask of the study."""
