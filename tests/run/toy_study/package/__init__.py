"""Study toy: two stages that count letters; it proves that a study is one sub-package and one
folder."""
