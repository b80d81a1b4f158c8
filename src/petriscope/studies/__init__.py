"""One package a study. The spine (every other package) imports none of them."""
