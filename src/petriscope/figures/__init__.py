"""Any study may draw these figures: a module is one subject, and a function takes the frames that a
stage wrote and returns a matplotlib figure. No number is typed in."""
