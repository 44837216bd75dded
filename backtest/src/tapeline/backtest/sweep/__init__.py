"""Many runs over the same data with other parameters, and an honest table of what came of them."""
