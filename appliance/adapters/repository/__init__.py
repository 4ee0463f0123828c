"""Where updates come from: a web server's folder, or one file. Nothing that comes from there is believed here."""
