internal import QMP

extension CommandRegistry {
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
