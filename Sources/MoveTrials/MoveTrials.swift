// MoveTrials: guests of its own are started, moved and watched, so that ways to move can be compared.
//
// Read TrialPlan (what guest, under which load, over which link), MoveTrial (one guest, one move, everything that was
// seen) and ComparisonRun (all of them). What is made of it for people is in Report.
