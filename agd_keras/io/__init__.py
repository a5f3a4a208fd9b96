"""Files in and out: finding cases, reading them, writing masks back in their geometry."""
