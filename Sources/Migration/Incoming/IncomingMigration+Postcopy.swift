internal import MigrationStream

/// The destination while the guest runs and its memory still comes.
extension IncomingMigration {
    /// Lets the guest run, receives the rest, and gets over lost links until everything is here.
    func finishPostcopy(
        _ session: IncomingSession, _ receiver: PostcopyReceiver, _ guest: consuming PausedGuest, wasRunning: Bool
    ) -> IncomingOutcome {
        let start = PostcopyStart(guest)
        let starter = wasRunning && startsGuest ? startResuming(start, receiver) : nil
        if !(wasRunning && startsGuest) {
            receiver.admitPushedPages()
            machine.announce()
        }
        var connections = connections
        while let error = receiver.waitForEnd() {
            receiver.breakLink(error)
            connections.close()
            connections.join()
            receiver.joinLink()
            // A link that broke behind the last page is not missed.
            if receiver.missingPageCount == 0 { break }
            connections = reconnect(receiver, after: error)
        }
        enter(.completion)
        session.answer(code: 0)
        receiver.end()
        connections.close()
        connections.join()
        receiver.joinLink()
        starter?.join()
        enter(.completed)
        return .completed(start.takeRight())
    }

    /// Lets the guest run, on a thread of its own: a device that is resumed may wait for a page, and then somebody must
    /// be there to get over a lost link.
    private func startResuming(_ start: PostcopyStart, _ receiver: PostcopyReceiver) -> (any MigrationThread)? {
        let run: @Sendable () -> Void = { [self] in
            runtime.setUrgency(.urgent)
            defer { runtime.setUrgency(.usual) }
            start.setRight(resume(start.takeRight()))
            receiver.admitPushedPages()
            machine.announce()
        }
        do { return try runtime.startThread("postcopy-start", run) } catch {
            run()
            return nil
        }
    }

    /// Waits for the source on a new link, again and again, until one is there.
    private func reconnect(_ receiver: PostcopyReceiver, after error: any Error) -> IncomingConnections {
        var error = error
        while true {
            update { $0.linkError = "\(error)" }
            enter(.postcopyPaused)
            let listener = waitForListener()
            enter(.postcopyRecoverSetup)
            let connections = makeConnections(on: listener, for: receiver)
            setConnections(connections)
            do {
                try begin(receiver, on: connections) { enter(.postcopyRecover) }
                return connections
            } catch let failure {
                error = connections.failure(or: failure)
                connections.close()
                connections.join()
                receiver.joinLink()
            }
        }
    }

    /// For a source that comes back to a post-copy.
    func makeConnections(
        on listener: any MigrationListener, for receiver: PostcopyReceiver
    ) -> IncomingConnections {
        IncomingConnections(
            listener: listener, runtime: runtime, machine: machine, dialect: dialect.withoutChannels, isRecovery: true
        ) { channel, head in receiver.receiveUrgent(from: channel, head: head) }
    }

    /// Waits for the source and reads from its main channel from then on.
    private func begin(
        _ receiver: PostcopyReceiver, on connections: IncomingConnections, onArrival: () -> Void = {}
    ) throws {
        try connections.start()
        let channel = try connections.waitForMain()
        onArrival()
        let reader = ChannelReader(channel: channel, capacity: 512 << 10)
        reader.append(connections.mainHead)
        receiver.prepareRecovery()
        receiver.answers.begin(on: channel)
        try receiver.begin(reader)
    }

    /// Lets the source of a post-copy that is over find out: it asks what is missing, and is told that nothing is. If
    /// that fails as well, it can be done again.
    func sayFarewell(_ receiver: PostcopyReceiver, _ connections: IncomingConnections) {
        do {
            try begin(receiver, on: connections)
            if receiver.waitForEnd() == nil { receiver.answers.send(.shut(0)) }
        } catch {
            // The source has the same failure before it, and waits for another link.
        }
        connections.close()
        connections.join()
        receiver.joinLink()
    }

    /// The source and this side have agreed on what is missing.
    func recovered() {
        // It came too late to miss anything.
        if statistics.phase == .completed { return }
        update { statistics in
            statistics.linkError = nil
            statistics.recoveryCount += 1
        }
        enter(.postcopyActive)
    }
}

/// The right to run the guest on its way to the thread that starts it and back.
private final class PostcopyStart: @unchecked Sendable {
    // Safe: handed to a thread that starts afterwards, and back by waiting for that thread.
    private var right: GuestRight?

    init(_ guest: consuming PausedGuest) { right = .paused(guest) }

    func setRight(_ right: consuming GuestRight) { self.right = consume right }

    func takeRight() -> GuestRight {
        guard let taken = right.take() else { preconditionFailure("the right to run the guest was taken before") }
        return taken
    }
}

extension StreamDialect {
    /// The same for a link that has no multifd channels.
    var withoutChannels: StreamDialect {
        var dialect = self
        dialect.channelCount = 0
        return dialect
    }
}
