"""Each study is a package. The spine (every other package) imports none of them."""
