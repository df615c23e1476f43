package target

// Curves are the values of curve_preferences.
var Curves = []string{"P256", "P384", "P521", "X25519", "X25519MLKEM768"}
