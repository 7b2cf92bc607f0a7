internal import QMP

extension CommandRegistry {
    /// `balloon`, `query-balloon`.
    mutating func registerBalloon(_ machine: any MachineControl) {
        let noBalloon = QMPError(.deviceNotActive, "No balloon device has been activated")
        register("balloon") { (arguments: inout Arguments) throws(QMPError) in
            try arguments.integer("value")
        } run: { value, _ in
            guard value > 0 else { throw QMPError("Parameter 'target' expects a size") }
            guard await machine.setBalloon(byteCount: Int(value)) else { throw noBalloon }
            return .nothing
        }
        register("query-balloon") {
            guard let byteCount = await machine.balloonByteCount() else { throw noBalloon }
            return ["actual": QMPValue(byteCount)]
        }
    }

    /// `stop`, `cont`, `system_reset`, `system_powerdown`, `quit`.
    mutating func registerLifecycle(_ services: MonitorServices) {
        let driver = services.driver
        register("stop") {
            try await driver.stop()
            return .nothing
        }
        register("cont") {
            try await driver.cont()
            return .nothing
        }
        register("system_reset") {
            try await driver.reset()
            return .nothing
        }
        register("system_powerdown") {
            try await driver.pressPowerButton()
            return .nothing
        }
        let quit = services.quit
        register("quit") {
            // A machine that cannot be stopped any more must not keep the monitor alive.
            try? await driver.shutDown(.hostQuit)
            quit()
            return .nothing
        }
    }
}
