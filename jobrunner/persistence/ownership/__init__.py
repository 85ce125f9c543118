"""Who owns a job: how an owner begins it, leaves it or loses it, and what befalls it while nobody owns it."""
