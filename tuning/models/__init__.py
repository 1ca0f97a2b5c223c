"""What leaves a study: models built, gated, registered, used. Nothing that makes or ranks trials imports from here."""
